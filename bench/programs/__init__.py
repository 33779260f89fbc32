"""The processes that measurements start. Each says JSON lines on its output, and ends when its input does."""
