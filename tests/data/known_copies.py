"""The copies among the real images; each pair was looked at and shows one lesion twice."""

SAME_BYTES_ON_ISIC = [
    ("ISIC_0000279", "ISIC_0000280"),
    ("ISIC_0000477", "ISIC_0000512"),
    ("ISIC_0012127", "ISIC_0012970"),
]
# The last three are the same picture, the others second scans of the same slides.
NEAR_ON_ISIC = [
    ("ISIC_0000164", "ISIC_0014795"),
    ("ISIC_0000165", "ISIC_0014788"),
    ("ISIC_0000168", "ISIC_0015190"),
    ("ISIC_0000171", "ISIC_0015124"),
    ("ISIC_0000173", "ISIC_0015110"),
    ("ISIC_0000177", "ISIC_0014657"),
    ("ISIC_0000204", "ISIC_0014748"),
    ("ISIC_0000206", "ISIC_0014739"),
    ("ISIC_0000222", "ISIC_0014846"),
    ("ISIC_0000223", "ISIC_0014818"),
    ("ISIC_0000224", "ISIC_0014791"),
    ("ISIC_0000225", "ISIC_0014778"),
    ("ISIC_0012290", "ISIC_0013594"),
    ("ISIC_0012672", "ISIC_0012673"),
    ("ISIC_0012756", "ISIC_0013184"),
]
# Scans so unlike that their hashes lie 8 to 12 bits apart; named in params.yaml: duplicates.known_pairs.
FAR_ON_ISIC = [
    ("ISIC_0000205", "ISIC_0014742"),
    ("ISIC_0000215", "ISIC_0015313"),
    ("ISIC_0000229", "ISIC_0014771"),
    ("ISIC_0000230", "ISIC_0014763"),
]
