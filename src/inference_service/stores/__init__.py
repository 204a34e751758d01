"""Model repositories and backups in object stores and folders."""
