"""The Python example of the README, run for real: what it prints stands there.

python benchmarks/readme_example.py
"""

import tempfile

import fersearch

workspace = tempfile.mkdtemp()
data = fersearch.load_data("synthetic:train=1600,val=400,test=1000,seed=1", workspace=workspace)
teacher = fersearch.train_teacher(data, ffe_splits=4, epochs=6, workspace=workspace)
student = fersearch.distil(
    data, teacher, temperature=4, alpha=0.8, learning_rate=0.03, workspace=workspace
)
alone = fersearch.train_student(data, learning_rate=0.03, workspace=workspace)
for name, network in {"teacher": teacher, "distilled": student, "alone": alone}.items():
    metrics = fersearch.evaluate(network, data, split="val")
    low, high = metrics.accuracy_ci95
    print(f"{name:<10} {metrics.accuracy:.1%} ({low:.1%} to {high:.1%})")
print(student.predict(data.val.images[:1]).round(2))
