"""Everything that can happen to workers, at once, to a real campaign on a real Postgres; then every number is checked.

`python -m benchmarks.chaos --help` tells how to run it. The rooms: `nursery` starts workers, `site` has the campaign,
its database, its disk and its workers, `troubles` makes trouble, `verdict` counts and judges.
"""
