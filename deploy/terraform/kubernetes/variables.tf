variable "name" {
  description = "Name of the release."
  type        = string
  default     = "inference-service"
}

variable "namespace" {
  description = "Its namespace; it is made where it is missing."
  type        = string
  default     = "inference"
}

variable "chart" {
  description = "The chart: a folder, or oci:// of a registry that you have pushed it to."
  type        = string
  default     = "../../helm/inference-service"
}

variable "image" {
  description = "The image with its digest: repository@sha256:…"
  type        = string

  validation {
    condition     = can(regex("^[^@]+@sha256:[0-9a-f]{64}$", var.image))
    error_message = "Expected repository@sha256: and 64 hexadecimal digits."
  }
}

variable "provider_name" {
  description = "Whose identity `identity` is: aws, google, azure or alibaba."
  type        = string
  default     = "aws"

  validation {
    condition     = contains(["aws", "google", "azure", "alibaba"], var.provider_name)
    error_message = "One of aws, google, azure, alibaba."
  }
}

variable "identity" {
  description = "What the pods act as: the ARN of a role, a Google service account, an Azure client id, or the name of a RAM role."
  type        = string
  default     = null
}

variable "keys_secret" {
  description = "The Secret with keys.toml and keys.toml.pepper; without it every pod that the NetworkPolicy admits may ask."
  type        = string
  default     = null
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
  description = "What one replica carries within your objective, as `inference-service bench` says. Scaling by it needs prometheus-adapter."
  type        = number
  default     = null
}

variable "values" {
  description = "Further values of the chart; they take precedence."
  type        = any
  default     = {}
}
