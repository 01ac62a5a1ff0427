"""What turns an image into a decision: shared by evaluation and the served model; numpy only."""
