"""Hand tasks to the workers, some of them twice, as a broker does that lost a confirmation."""

from shop import confirm

tasks = [confirm.delay(number % 4, "ann@example.org") for number in range(8)]
ids = [task.get(timeout=60) for task in tasks]
print(len(ids), "tasks,", len(set(ids)), "messages")
