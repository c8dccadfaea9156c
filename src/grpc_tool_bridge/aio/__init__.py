"""What asyncio lacks: owned tasks, first steps without a task, time-outs, threads, a way in from outside."""
