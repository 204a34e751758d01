variable "name" {
  description = "Name of everything that is made: lower case, digits, hyphens; at most 32 characters."
  type        = string
  default     = "inference-service"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}[a-z0-9]$", var.name))
    error_message = "A load balancer's name has at most 32 letters, digits and hyphens."
  }
}

variable "image" {
  description = "The image in ECR, best by digest."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "task_subnet_ids" {
  description = "Private subnets for the tasks, in two zones or more."
  type        = list(string)
}

variable "load_balancer_subnet_ids" {
  description = "Subnets for the load balancer: private ones if it is internal."
  type        = list(string)
}

variable "internal" {
  description = "Whether the load balancer is reached from the VPC alone."
  type        = bool
  default     = true
}

variable "client_cidrs" {
  description = "IPv4 networks that may ask."
  type        = list(string)
}

variable "certificate_arn" {
  description = "Certificate of ACM for the load balancer."
  type        = string
}

variable "models" {
  description = "What is served: a folder of the image or a URL of S3 (s3://bucket/path)."
  type        = string
  default     = "/models"
}

variable "models_bucket_arn" {
  description = "The bucket of `models`, which the tasks may then read."
  type        = string
  default     = null
}

variable "cpu" {
  description = "CPU units of a replica: 1024 are a core. Whole cores batch best."
  type        = number
  default     = 2048

  validation {
    condition     = contains([1024, 2048, 4096, 8192, 16384], var.cpu)
    error_message = "Fargate has 1, 2, 4, 8 or 16 whole cores: 1024, 2048, 4096, 8192 or 16384 units."
  }
}

variable "memory" {
  description = "MiB of a replica."
  type        = number
  default     = 4096
}

variable "min_replicas" {
  description = "The least number: two survive the loss of a zone."
  type        = number
  default     = 2
}

variable "max_replicas" {
  description = "The greatest number: the limit of the bill."
  type        = number
  default     = 10
}

variable "requests_per_second" {
  description = "What one replica carries within your objective, as `inference-service bench` says."
  type        = number
}

variable "environment" {
  description = "Further settings: INFERENCE_SERVICE_* and their values."
  type        = map(string)
  default     = {}
}

variable "secrets" {
  description = "Settings that are secrets, with the ARN of the secret of Secrets Manager that holds each."
  type        = map(string)
  default     = {}
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps the logs."
  type        = number
  default     = 30
}

variable "kms_key_arn" {
  description = "Key of KMS for the logs; null: encrypted with CloudWatch's own."
  type        = string
  default     = null
}

variable "access_logs_bucket" {
  description = "Bucket for the load balancer's access logs; null: none are written."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Whether the load balancer can't be deleted."
  type        = bool
  default     = true
}
