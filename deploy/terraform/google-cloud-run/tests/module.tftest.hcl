mock_provider "google" {}

variables {
  region = "europe-west3"
  image  = "europe-west3-docker.pkg.dev/project/models/inference-service@sha256:0"
}

run "callers_must_be_named" {
  command = plan
  assert {
    condition     = length(google_cloud_run_v2_service_iam_member.callers) == 0
    error_message = "callers are named by the user"
  }
  assert {
    condition     = google_cloud_run_v2_service.this.ingress == "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
    error_message = "not from the internet directly"
  }
}

run "it_drains_within_the_ten_seconds_of_cloud_run" {
  command = plan
  assert {
    condition     = tonumber(local.settings.INFERENCE_SERVICE_SHUTDOWN__GRACE_PERIOD) + tonumber(local.settings.INFERENCE_SERVICE_SHUTDOWN__LAME_DUCK) < 10
    error_message = "SIGKILL comes 10 seconds after SIGTERM"
  }
}

run "keys_come_from_the_secret_and_end_anonymous_access" {
  command = plan
  variables {
    secrets       = { INFERENCE_SERVICE_SECURITY__KEYS = "inference-keys" }
    models        = "gs://models/digits"
    models_bucket = "models"
  }
  assert {
    condition     = [for e in google_cloud_run_v2_service.this.template[0].containers[0].env : e.value if e.name == "INFERENCE_SERVICE_SECURITY__ANONYMOUS"] == ["false"]
    error_message = "keys are given"
  }
  assert {
    condition     = google_secret_manager_secret_iam_member.secrets["INFERENCE_SERVICE_SECURITY__KEYS"].secret_id == "inference-keys" && google_storage_bucket_iam_member.models[0].role == "roles/storage.objectViewer"
    error_message = "the right to read exactly these"
  }
}

run "a_concurrency_that_cloud_run_refuses" {
  command = plan
  variables {
    concurrency = 2000
  }
  expect_failures = [var.concurrency]
}
