"""The words that the demo's texts are filled with."""

_SHE = "Mia Ana Lena Ruth Nora Ivy Rosa Tess Maya Zoe Jane Emma Lily"
_HE = "Tom Ben Omar Leo Max Finn Hugo Paul Ravi Sam Noah Jack Carl"

# (name, pronoun): a text never has to guess how to go on about a person.
PEOPLE = tuple([(name, "she") for name in _SHE.split()] + [(name, "he") for name in _HE.split()])

# (singular, plural)
THINGS = (
    ("apple", "apples"),
    ("pencil", "pencils"),
    ("marble", "marbles"),
    ("stamp", "stamps"),
    ("cookie", "cookies"),
    ("book", "books"),
    ("shell", "shells"),
    ("card", "cards"),
    ("button", "buttons"),
    ("flower", "flowers"),
    ("candle", "candles"),
    ("coin", "coins"),
    ("plum", "plums"),
    ("ribbon", "ribbons"),
    ("sticker", "stickers"),
    ("muffin", "muffins"),
    ("bead", "beads"),
    ("kite", "kites"),
    ("lemon", "lemons"),
    ("brush", "brushes"),
    ("cup", "cups"),
    ("ball", "balls"),
    ("toy", "toys"),
    ("hat", "hats"),
)
