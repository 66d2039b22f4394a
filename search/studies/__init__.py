"""Programs that compare and tune the methods with the embedded pair."""
