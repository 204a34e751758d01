output "id" {
  description = "The service; the console shows its address and its token."
  value       = alicloud_pai_service.this.id
}
