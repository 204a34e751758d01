mock_provider "azurerm" {}

variables {
  resource_group_name        = "models"
  location                   = "westeurope"
  subnet_id                  = "/subscriptions/0/resourceGroups/models/providers/Microsoft.Network/virtualNetworks/v/subnets/apps"
  log_analytics_workspace_id = "/subscriptions/0/resourceGroups/models/providers/Microsoft.OperationalInsights/workspaces/w"
  registry_server            = "example.azurecr.io"
  registry_id                = "/subscriptions/0/resourceGroups/models/providers/Microsoft.ContainerRegistry/registries/example"
  image                      = "example.azurecr.io/inference-service@sha256:0"
}

run "it_is_internal_and_speaks_tls_only" {
  command = plan
  assert {
    condition     = azurerm_container_app_environment.this.internal_load_balancer_enabled && !azurerm_container_app.this.ingress[0].allow_insecure_connections
    error_message = "plain HTTP, or from the internet"
  }
}

run "the_container_is_stopped_after_the_service_has_drained" {
  command = plan
  assert {
    condition     = azurerm_container_app.this.template[0].termination_grace_period_seconds > tonumber(local.settings.INFERENCE_SERVICE_SHUTDOWN__GRACE_PERIOD) + tonumber(local.settings.INFERENCE_SERVICE_SHUTDOWN__LAME_DUCK)
    error_message = "SIGKILL before the grace period has ended"
  }
}

run "keys_come_from_the_vault_and_end_anonymous_access" {
  command = apply
  variables {
    secrets      = { INFERENCE_SERVICE_SECURITY__KEYS = "https://example.vault.azure.net/secrets/inference-keys" }
    key_vault_id = "/subscriptions/0/resourceGroups/models/providers/Microsoft.KeyVault/vaults/example"
  }
  assert {
    condition     = local.settings.INFERENCE_SERVICE_SECURITY__ANONYMOUS == "false"
    error_message = "keys are given"
  }
  assert {
    condition     = [for e in azurerm_container_app.this.template[0].container[0].env : e.secret_name if e.name == "INFERENCE_SERVICE_SECURITY__KEYS"] == ["inference-service-security--keys"]
    error_message = "the variable has the secret's value"
  }
  assert {
    condition     = length(azurerm_role_assignment.vault) == 1 && length(azurerm_role_assignment.models) == 0
    error_message = "the right to read the vault, and nothing more"
  }
}

run "half_a_core_is_refused" {
  command = plan
  variables {
    cpu = 0.5
  }
  expect_failures = [var.cpu]
}
