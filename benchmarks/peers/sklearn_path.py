"""scikit-learn's LogisticRegression over all strengths, each judged on validation.

The job says for each strength in which numbers and to which tolerance it is fitted, and whether each starts from the
last one's solution.
"""

import time
import warnings

from common import run


def measure(job):
    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    warnings.simplefilter("ignore", ConvergenceWarning)
    with np.load(job["data"]) as data:
        values = {"float64": data["values"], "float32": data["values"].astype(np.float32)}
        labels, held_out, true = data["labels"], data["held_out"], data["true"]
    model, heads, accuracies = None, [], []
    start = time.perf_counter()
    for step in job["steps"]:
        last, dtype = model, step["dtype"]
        model = LogisticRegression(
            C=1 / (len(labels) * step["strength"]),
            tol=step["tolerance"],
            max_iter=step["most_iterations"],
            warm_start=job["warm"],
        )
        if job["warm"] and last is not None:
            model.coef_, model.intercept_ = last.coef_.astype(dtype), last.intercept_.astype(dtype)
        model.fit(values[dtype], labels)
        heads.append((model.coef_, model.intercept_))
        accuracies.append(float((model.predict(held_out) == true).mean()))
    seconds = time.perf_counter() - start
    np.savez(
        job["heads"],
        weights=np.stack([weights for weights, _ in heads]).astype(np.float64),
        biases=np.stack([bias for _, bias in heads]).astype(np.float64),
    )
    return {"seconds": seconds, "accuracy": max(accuracies)}


if __name__ == "__main__":
    run(measure, ["scikit-learn", "numpy"])
