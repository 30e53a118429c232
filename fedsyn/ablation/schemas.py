"""The columns and types of an ablation's tables. Shares and accuracies are fractions, whatever a page shows."""

import pyarrow as pa

RUNS = pa.schema(
    [
        ("arm", pa.string()),
        ("seed", pa.int64()),
        ("metric", pa.string()),  # as the report names it
        ("value", pa.float64()),  # null where the report could not measure it
        ("report", pa.string()),  # key of the report's artifact
    ]
)
ARMS = pa.schema([("arm", pa.string()), ("field", pa.string()), ("value", pa.string())])  # value: JSON
SUMMARY = pa.schema(
    [
        ("arm", pa.string()),
        ("metric", pa.string()),
        ("n", pa.int64()),  # seeds with a value
        ("mean", pa.float64()),
        ("lower", pa.float64()),  # 95 % Student-t interval over seeds; null below two of them
        ("upper", pa.float64()),
        ("pairs", pa.int64()),  # seeds with a value in the first arm, too; 0 in the first arm itself
        ("difference", pa.float64()),  # mean over them of this arm minus the first
        ("difference_lower", pa.float64()),
        ("difference_upper", pa.float64()),
    ]
)
FAILURES = pa.schema([("arm", pa.string()), ("seed", pa.int64()), ("message", pa.string())])
