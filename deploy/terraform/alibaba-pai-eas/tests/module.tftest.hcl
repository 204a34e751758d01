mock_provider "alicloud" {}

variables {
  workspace_id = "1"
  image        = "registry-vpc.cn-hangzhou.aliyuncs.com/models/inference-service:1"
}

run "the_port_is_none_of_the_engines" {
  command = plan
  assert {
    condition     = !contains([8080, 9090], jsondecode(alicloud_pai_service.this.service_config).containers[0].port)
    error_message = "the engine of EAS has 8080 and 9090"
  }
}

run "models_of_oss_are_mounted_and_served" {
  command = plan
  variables {
    models_oss_path = "oss://bucket/models/"
  }
  assert {
    condition     = jsondecode(alicloud_pai_service.this.service_config).storage[0].mount_path == local.settings.INFERENCE_SERVICE_MODELS && jsondecode(alicloud_pai_service.this.service_config).storage[0].oss.readOnly
    error_message = "the mounted folder, read-only"
  }
}
