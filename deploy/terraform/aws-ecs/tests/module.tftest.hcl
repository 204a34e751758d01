mock_provider "aws" {}

variables {
  image                    = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/inference-service@sha256:0"
  vpc_id                   = "vpc-1"
  task_subnet_ids          = ["subnet-1", "subnet-2"]
  load_balancer_subnet_ids = ["subnet-1", "subnet-2"]
  client_cidrs             = ["10.0.0.0/8"]
  certificate_arn          = "arn:aws:acm:eu-central-1:123456789012:certificate/1"
  requests_per_second      = 500
}

run "scales_at_six_tenths_of_the_capacity" {
  command = plan
  assert {
    condition     = aws_appautoscaling_policy.rate.target_tracking_scaling_policy_configuration[0].target_value == 18000
    error_message = "500 requests per second are 30000 per minute; 0.6 of them are 18000"
  }
}

run "without_keys_callers_are_those_of_the_network" {
  command = plan
  assert {
    condition     = local.settings.INFERENCE_SERVICE_SECURITY__ANONYMOUS == "true"
    error_message = "no keys"
  }
  assert {
    condition     = length(aws_iam_role_policy.secrets) == 0 && length(aws_iam_role_policy.models) == 0
    error_message = "rights that nothing needs"
  }
}

run "keys_end_anonymous_access_and_only_they_can_be_read" {
  command = apply
  variables {
    secrets           = { INFERENCE_SERVICE_SECURITY__KEYS = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:keys" }
    models            = "s3://models/digits"
    models_bucket_arn = "arn:aws:s3:::models"
  }
  assert {
    condition     = local.settings.INFERENCE_SERVICE_SECURITY__ANONYMOUS == "false"
    error_message = "keys are given"
  }
  assert {
    condition     = jsondecode(aws_iam_role_policy.secrets[0].policy).Statement[0].Resource == ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:keys"]
    error_message = "exactly the secrets that are given"
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.this.container_definitions)[0].secrets[0].name == "INFERENCE_SERVICE_SECURITY__KEYS"
    error_message = "the secret is a variable of the container"
  }
}

run "the_container_is_stopped_after_the_service_has_drained" {
  command = apply
  assert {
    condition     = jsondecode(aws_ecs_task_definition.this.container_definitions)[0].stopTimeout > tonumber(local.settings.INFERENCE_SERVICE_SHUTDOWN__GRACE_PERIOD)
    error_message = "SIGKILL before the grace period has ended"
  }
  assert {
    condition     = aws_lb.this.idle_timeout < 75
    error_message = "the load balancer must close idle connections before the service does"
  }
}

run "half_a_core_is_refused" {
  command = plan
  variables {
    cpu = 512
  }
  expect_failures = [var.cpu]
}
