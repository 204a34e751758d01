variable "name" {
  description = "Name of the app, its environment and its identity."
  type        = string
  default     = "inference-service"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}[a-z0-9]$", var.name))
    error_message = "A container app's name has 2 to 32 lower-case letters, digits and hyphens."
  }
}

variable "resource_group_name" {
  description = "The resource group."
  type        = string
}

variable "location" {
  description = "The region."
  type        = string
}

variable "subnet_id" {
  description = "Subnet of a virtual network for the environment."
  type        = string
}

variable "internal" {
  description = "Whether it is reached from the virtual network alone."
  type        = bool
  default     = true
}

variable "client_cidrs" {
  description = "IPv4 networks that may ask; empty: all that reach it."
  type        = list(string)
  default     = []
}

variable "log_analytics_workspace_id" {
  description = "The Log Analytics workspace for logs."
  type        = string
}

variable "registry_server" {
  description = "The registry, such as name.azurecr.io."
  type        = string
}

variable "registry_id" {
  description = "The resource of the registry, which the app may then read."
  type        = string
}

variable "image" {
  description = "The image in the registry, best by digest."
  type        = string
}

variable "models" {
  description = "What is served: a folder of the image or a URL of Blob Storage (az://container/path)."
  type        = string
  default     = "/models"
}

variable "models_storage_account" {
  description = "The storage account of `models`."
  type        = string
  default     = null
}

variable "models_container_id" {
  description = "The resource of the container of `models`, which the app may then read."
  type        = string
  default     = null
}

variable "key_vault_id" {
  description = "The Key Vault of `secrets`."
  type        = string
  default     = null
}

variable "cpu" {
  description = "Cores of a replica, with 2 GiB each; whole ones batch best."
  type        = number
  default     = 2

  validation {
    condition     = contains([1, 2, 3, 4], var.cpu)
    error_message = "The consumption plan has 1 to 4 whole cores."
  }
}

variable "min_replicas" {
  description = "The least number; 0: the first request waits for a start."
  type        = number
  default     = 2
}

variable "max_replicas" {
  description = "The greatest number: the limit of the bill."
  type        = number
  default     = 10
}

variable "concurrent_requests" {
  description = "Requests under way for each replica: rate x latency at 0.6 of its capacity, which differs widely between models (docs/autoscaling.md)."
  type        = number
  default     = 10
}

variable "environment" {
  description = "Further settings: INFERENCE_SERVICE_* and their values."
  type        = map(string)
  default     = {}
}

variable "secrets" {
  description = "Settings that are secrets, with the URL of the secret of Key Vault that holds each."
  type        = map(string)
  default     = {}
}
