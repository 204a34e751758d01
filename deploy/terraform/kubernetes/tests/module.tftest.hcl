mock_provider "helm" {}

variables {
  image = "example.com/inference-service@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
}

run "without_an_identity_and_a_capacity_the_charts_defaults_hold" {
  command = plan
  assert {
    condition     = keys(yamldecode(helm_release.this.values[0])) == ["autoscaling", "image", "security"]
    error_message = "only what is set"
  }
}

run "an_identity_of_azure_needs_a_label_too" {
  command = plan
  variables {
    provider_name = "azure"
    identity      = "00000000-0000-0000-0000-000000000001"
  }
  assert {
    condition     = yamldecode(helm_release.this.values[0]).podLabels["azure.workload.identity/use"] == "true"
    error_message = "the webhook looks for the label"
  }
  assert {
    condition     = yamldecode(helm_release.this.values[0]).serviceAccount.annotations["azure.workload.identity/client-id"] == var.identity
    error_message = "the service account has the client's id"
  }
}

run "scales_at_six_tenths_of_the_capacity" {
  command = plan
  variables {
    requests_per_second = 500
    keys_secret         = "inference-keys"
  }
  assert {
    condition     = yamldecode(helm_release.this.values[0]).autoscaling.targetRate == "300" && !yamldecode(helm_release.this.values[0]).security.anonymous
    error_message = "0.6 x 500; and keys end anonymous access"
  }
}

run "a_tag_is_refused" {
  command = plan
  variables {
    image = "example.com/inference-service:latest"
  }
  expect_failures = [var.image]
}
