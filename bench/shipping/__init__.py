"""What a deploy to a real host costs, beside what its users do today."""
