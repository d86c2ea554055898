"""What deploys are compared with, each written as its own users would."""
