# The service on Cloud Run, with an identity of its own.
terraform {
  required_version = ">= 1.7"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.0, < 8.0"
    }
  }
}

locals {
  # Cloud Run gives 10 seconds after SIGTERM, and sends no requests any more.
  settings = merge({
    INFERENCE_SERVICE_MODELS                  = var.models
    INFERENCE_SERVICE_REPOSITORY__STORE_CACHE = "/tmp/models"
    INFERENCE_SERVICE_SHUTDOWN__LAME_DUCK     = "0"
    INFERENCE_SERVICE_SHUTDOWN__GRACE_PERIOD  = "9"
    INFERENCE_SERVICE_SECURITY__ANONYMOUS     = tostring(!contains(keys(var.secrets), "INFERENCE_SERVICE_SECURITY__KEYS"))
  }, var.environment)
}

resource "google_service_account" "this" {
  account_id   = var.name
  display_name = "Runs ${var.name}"
}

resource "google_secret_manager_secret_iam_member" "secrets" {
  for_each  = var.secrets
  secret_id = each.value
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${google_service_account.this.email}"
}

resource "google_storage_bucket_iam_member" "models" {
  count  = var.models_bucket == null ? 0 : 1
  bucket = var.models_bucket
  role   = "roles/storage.objectViewer"
  member = "serviceAccount:${google_service_account.this.email}"
}

resource "google_cloud_run_v2_service" "this" {
  name                = var.name
  location            = var.region
  ingress             = var.ingress
  deletion_protection = var.deletion_protection

  template {
    service_account                  = google_service_account.this.email
    max_instance_request_concurrency = var.concurrency
    timeout                          = "60s" # limits.request_timeout

    scaling {
      min_instance_count = var.min_replicas
      max_instance_count = var.max_replicas
    }

    containers {
      image = var.image

      ports {
        container_port = 8000
      }

      resources {
        limits            = { cpu = tostring(var.cpu), memory = var.memory }
        cpu_idle          = false # billed by instance: looking for new models needs the CPU, too
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = local.settings
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = var.secrets
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value
              version = "latest"
            }
          }
        }
      }

      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 1
        failure_threshold = 120 # 240 seconds are the most that can be set
        http_get {
          path = "/v2/health/ready"
        }
      }

      liveness_probe {
        period_seconds    = 10
        timeout_seconds   = 5
        failure_threshold = 3
        http_get {
          path = "/v2/health/live"
        }
      }
    }
  }

  depends_on = [google_secret_manager_secret_iam_member.secrets]
}

resource "google_cloud_run_v2_service_iam_member" "callers" {
  for_each = toset(var.callers)
  name     = google_cloud_run_v2_service.this.name
  location = google_cloud_run_v2_service.this.location
  role     = "roles/run.invoker"
  member   = each.value
}
