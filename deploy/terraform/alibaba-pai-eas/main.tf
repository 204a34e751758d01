# The service on PAI-EAS from a custom image. Autoscaling has no resource in the provider:
# docs/clouds/alibaba.md says how it is switched on.
terraform {
  required_version = ">= 1.7"
  required_providers {
    alicloud = {
      source  = "aliyun/alicloud"
      version = ">= 1.245.0, < 2.0"
    }
  }
}

locals {
  settings = merge({
    INFERENCE_SERVICE_MODELS = var.models_oss_path == null ? var.models : "/mnt/models"
    # EAS checks its own token before a request reaches the container.
    INFERENCE_SERVICE_SECURITY__ANONYMOUS = "true"
  }, var.environment)
  storage = [{
    mount_path = "/mnt/models"
    oss        = { path = var.models_oss_path, readOnly = true }
    properties = { resource_type = "model" }
  }]
}

resource "alicloud_pai_service" "this" {
  workspace_id = var.workspace_id

  service_config = jsonencode(merge({
    metadata = {
      name     = var.name
      instance = var.replicas
      cpu      = var.cpu
      memory   = var.memory
    }
    containers = [{
      image  = var.image
      port   = 8000 # not 8080 or 9090: the engine of EAS has these
      script = "inference-service serve"
      env    = [for name, value in local.settings : { name = name, value = value }]
    }]
  }, { for name, value in { storage = local.storage } : name => value if var.models_oss_path != null }))
}
