output "url" {
  description = "Where the service answers."
  value       = "https://${azurerm_container_app.this.ingress[0].fqdn}"
}

output "identity_principal_id" {
  description = "The identity of the service, for further rights."
  value       = azurerm_user_assigned_identity.this.principal_id
}
