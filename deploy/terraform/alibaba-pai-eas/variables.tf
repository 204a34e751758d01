variable "name" {
  description = "Name of the service, unique in the region."
  type        = string
  default     = "inference_service"

  validation {
    condition     = can(regex("^[a-z][a-z0-9_]*$", var.name))
    error_message = "A service of EAS is named with lower-case letters, digits and underscores."
  }
}

variable "workspace_id" {
  description = "The workspace of PAI."
  type        = string
}

variable "image" {
  description = "The image in Container Registry, by its address in the VPC."
  type        = string
}

variable "models" {
  description = "What is served: a folder of the image."
  type        = string
  default     = "/models"
}

variable "models_oss_path" {
  description = "A folder of OSS to serve instead, such as oss://bucket/models/; it is mounted read-only."
  type        = string
  default     = null
}

variable "replicas" {
  description = "Instances; with autoscaling, the number at the start."
  type        = number
  default     = 2
}

variable "cpu" {
  description = "Cores of an instance."
  type        = number
  default     = 2
}

variable "memory" {
  description = "MB of an instance."
  type        = number
  default     = 4000
}

variable "environment" {
  description = "Further settings: INFERENCE_SERVICE_* and their values."
  type        = map(string)
  default     = {}
}
