# The Helm chart in a cluster of any provider: EKS, GKE, AKS, ACK or your own. Give the provider
# `helm` the cluster's credentials; clusters themselves are made by their providers' modules.
terraform {
  required_version = ">= 1.7"
  required_providers {
    helm = {
      source  = "hashicorp/helm"
      version = ">= 3.0, < 4.0"
    }
  }
}

locals {
  # How a pod gets the rights of an identity of the cloud, without a key (docs/clouds).
  annotations = {
    aws     = { "eks.amazonaws.com/role-arn" = var.identity }
    google  = { "iam.gke.io/gcp-service-account" = var.identity }
    azure   = { "azure.workload.identity/client-id" = var.identity }
    alibaba = { "pod-identity.alibabacloud.com/role-name" = var.identity }
  }
  labels = {
    aws     = {}
    google  = {}
    azure   = { "azure.workload.identity/use" = "true" }
    alibaba = {}
  }
  identity = {
    serviceAccount = { annotations = local.annotations[var.provider_name] }
    podLabels      = local.labels[var.provider_name]
  }
}

resource "helm_release" "this" {
  name             = var.name
  namespace        = var.namespace
  create_namespace = true
  chart            = var.chart
  atomic           = true # a rollout whose replicas don't become ready is taken back
  timeout          = 600

  values = [
    yamlencode(merge({
      image = {
        repository = split("@", var.image)[0]
        digest     = split("@", var.image)[1]
      }
      autoscaling = merge(
        { minReplicas = var.min_replicas, maxReplicas = var.max_replicas },
        # 0.6 of a replica's capacity (docs/autoscaling.md); by CPU where it isn't known.
        var.requests_per_second == null ? {} : { metric = "rate", targetRate = tostring(floor(0.6 * var.requests_per_second)) },
      )
      security = var.keys_secret == null ? {} : { keysSecret = var.keys_secret, anonymous = false }
    }, { for name, value in local.identity : name => value if var.identity != null })),
    yamlencode(var.values),
  ]
}
