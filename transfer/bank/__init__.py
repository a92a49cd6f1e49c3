"""What chosen interim subnetworks answer for every training image."""
