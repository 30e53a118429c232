"""What a run reports of itself. Hidden labels are opened here and nowhere else."""
