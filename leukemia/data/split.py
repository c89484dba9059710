"""Split a dataset into parts that share no file, no hash and no group."""



from leukemia.data.parts import PARTS, Split, check_split, read_split, write_split

__all__ = [
    "PARTS",
    "Split",
    "balance",
    "check_split",
    "paper_split",
    "read_split",
    "stratified_split",
    "write_split",
]
