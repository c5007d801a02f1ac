"""What the tools of GitOps take a release for, recorded from their own libraries."""
