# The service on Azure Container Apps, with a managed identity.
terraform {
  required_version = ">= 1.7"
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = ">= 4.0, < 5.0"
    }
  }
}

locals {
  settings = merge({
    INFERENCE_SERVICE_MODELS                  = var.models
    INFERENCE_SERVICE_REPOSITORY__STORE_CACHE = "/tmp/models"
    INFERENCE_SERVICE_SHUTDOWN__LAME_DUCK     = "5"
    INFERENCE_SERVICE_SHUTDOWN__GRACE_PERIOD  = "60"
    INFERENCE_SERVICE_SECURITY__ANONYMOUS     = tostring(!contains(keys(var.secrets), "INFERENCE_SERVICE_SECURITY__KEYS"))
    AZURE_CLIENT_ID                           = azurerm_user_assigned_identity.this.client_id
  }, var.models_storage_account == null ? {} : { AZURE_STORAGE_ACCOUNT_NAME = var.models_storage_account }, var.environment)
  secret_names = { for name in keys(var.secrets) : name => lower(replace(name, "_", "-")) }
}

resource "azurerm_user_assigned_identity" "this" {
  name                = var.name
  location            = var.location
  resource_group_name = var.resource_group_name
}

resource "azurerm_role_assignment" "registry" {
  scope                = var.registry_id
  role_definition_name = "AcrPull"
  principal_id         = azurerm_user_assigned_identity.this.principal_id
}

resource "azurerm_role_assignment" "vault" {
  count                = var.key_vault_id == null ? 0 : 1
  scope                = var.key_vault_id
  role_definition_name = "Key Vault Secrets User"
  principal_id         = azurerm_user_assigned_identity.this.principal_id
}

resource "azurerm_role_assignment" "models" {
  count                = var.models_container_id == null ? 0 : 1
  scope                = var.models_container_id
  role_definition_name = "Storage Blob Data Reader"
  principal_id         = azurerm_user_assigned_identity.this.principal_id
}

resource "azurerm_container_app_environment" "this" {
  name                           = var.name
  location                       = var.location
  resource_group_name            = var.resource_group_name
  log_analytics_workspace_id     = var.log_analytics_workspace_id
  logs_destination               = "log-analytics"
  infrastructure_subnet_id       = var.subnet_id
  internal_load_balancer_enabled = var.internal
}

resource "azurerm_container_app" "this" {
  name                         = var.name
  resource_group_name          = var.resource_group_name
  container_app_environment_id = azurerm_container_app_environment.this.id
  revision_mode                = "Single" # a new revision takes over when it is ready

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.this.id]
  }

  registry {
    server   = var.registry_server
    identity = azurerm_user_assigned_identity.this.id
  }

  dynamic "secret" {
    for_each = var.secrets
    content {
      name                = local.secret_names[secret.key]
      identity            = azurerm_user_assigned_identity.this.id
      key_vault_secret_id = secret.value
    }
  }

  ingress {
    external_enabled           = true # from outside of the environment; that is internal itself
    allow_insecure_connections = false
    target_port                = 8000
    transport                  = "http"

    traffic_weight {
      latest_revision = true
      percentage      = 100
    }

    dynamic "ip_security_restriction" {
      for_each = var.client_cidrs
      content {
        name             = "clients-${ip_security_restriction.key}"
        action           = "Allow"
        ip_address_range = ip_security_restriction.value
      }
    }
  }

  template {
    min_replicas                     = var.min_replicas
    max_replicas                     = var.max_replicas
    termination_grace_period_seconds = 90

    container {
      name   = "service"
      image  = var.image
      cpu    = var.cpu
      memory = "${2 * var.cpu}Gi"

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
          name        = env.key
          secret_name = local.secret_names[env.key]
        }
      }

      startup_probe { # up to 100 seconds: ten failures are the most that can be set
        transport               = "HTTP"
        port                    = 8000
        path                    = "/v2/health/ready"
        interval_seconds        = 10
        failure_count_threshold = 10
      }

      readiness_probe {
        transport               = "HTTP"
        port                    = 8000
        path                    = "/v2/health/ready"
        interval_seconds        = 5
        failure_count_threshold = 1
        success_count_threshold = 1
      }

      liveness_probe {
        transport               = "HTTP"
        port                    = 8000
        path                    = "/v2/health/live"
        interval_seconds        = 10
        failure_count_threshold = 3
      }
    }

    http_scale_rule {
      name                = "requests-under-way"
      concurrent_requests = tostring(var.concurrent_requests)
    }
  }

  depends_on = [azurerm_role_assignment.registry, azurerm_role_assignment.vault]
}
