output "url" {
  description = "Where pods of the cluster reach the service."
  value       = "http://${var.name}.${var.namespace}.svc"
}
