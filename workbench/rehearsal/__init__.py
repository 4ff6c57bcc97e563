"""`python -m workbench.rehearsal`: the whole workbench on a random checkpoint of a published model's shape.

What a researcher will do with a real checkpoint is done here with one that needs no download: same configuration, same
number of weights in bfloat16 shards, a tokenizer of 32,000 pieces. Its experts know nothing, so that only time, memory
and layout mean something.
"""
