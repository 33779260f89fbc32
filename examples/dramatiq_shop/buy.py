"""Hand tasks to the workers, some of them twice, as a broker does that lost a confirmation."""

from shop import confirm

for number in range(8):
    confirm.send(number % 4, "ann@example.org")
print("8 tasks")
