output "url" {
  description = "Where the service answers."
  value       = google_cloud_run_v2_service.this.uri
}

output "service_account" {
  description = "The identity of the service, for further rights."
  value       = google_service_account.this.email
}
