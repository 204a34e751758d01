output "url" {
  description = "Where the service answers; the certificate's name must point to it."
  value       = "https://${aws_lb.this.dns_name}"
}

output "task_role_arn" {
  description = "The identity of the service, for further rights."
  value       = aws_iam_role.task.arn
}
