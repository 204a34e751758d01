variable "name" {
  description = "Name of the service and of its service account."
  type        = string
  default     = "inference-service"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.name))
    error_message = "A service account's name has 6 to 30 lower-case letters, digits and hyphens."
  }
}

variable "region" {
  description = "The region."
  type        = string
}

variable "image" {
  description = "The image in Artifact Registry, best by digest."
  type        = string
}

variable "models" {
  description = "What is served: a folder of the image or a URL of Cloud Storage (gs://bucket/path)."
  type        = string
  default     = "/models"
}

variable "models_bucket" {
  description = "The bucket of `models`, which the service may then read."
  type        = string
  default     = null
}

variable "cpu" {
  description = "Cores of a replica; whole ones batch best."
  type        = number
  default     = 2

  validation {
    condition     = contains([1, 2, 4, 6, 8], var.cpu)
    error_message = "Cloud Run has 1, 2, 4, 6 or 8 whole cores."
  }
}

variable "memory" {
  description = "Memory of a replica; the copy of models from a bucket counts, /tmp is in memory."
  type        = string
  default     = "2Gi"
}

variable "concurrency" {
  description = "Requests at a time for a replica: requests that wait there are what batches are made of."
  type        = number
  default     = 80

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 1000
    error_message = "Cloud Run allows 1 to 1000."
  }
}

variable "min_replicas" {
  description = "The least number; 0: the first request waits for a start."
  type        = number
  default     = 1
}

variable "max_replicas" {
  description = "The greatest number: the limit of the bill."
  type        = number
  default     = 10
}

variable "ingress" {
  description = "From where it is reached."
  type        = string
  default     = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"

  validation {
    condition     = contains(["INGRESS_TRAFFIC_ALL", "INGRESS_TRAFFIC_INTERNAL_ONLY", "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"], var.ingress)
    error_message = "One of INGRESS_TRAFFIC_ALL, INGRESS_TRAFFIC_INTERNAL_ONLY, INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER."
  }
}

variable "callers" {
  description = "Members that may call it, such as serviceAccount:name@project.iam.gserviceaccount.com; allUsers leaves access to the service's own keys."
  type        = list(string)
  default     = []
}

variable "environment" {
  description = "Further settings: INFERENCE_SERVICE_* and their values."
  type        = map(string)
  default     = {}
}

variable "secrets" {
  description = "Settings that are secrets, with the name of the secret of Secret Manager that holds each."
  type        = map(string)
  default     = {}
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete the service."
  type        = bool
  default     = true
}
