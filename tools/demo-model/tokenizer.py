"""Byte-level BPE in tiktoken's file form, with Kimi K2's splitting rule and special-token offsets.

The one idea: a tiny model can only copy a name it has never seen if the name is spelled alike wherever it stands. So
digits and minus signs never merge, a leading space merges only onto whole words of the fixed phrases, and merges are
learned from the fixed phrases alone: every slot value is an optional space and then the same small pieces.
"""
import base64
from collections import Counter

import regex

_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
SPLIT = regex.compile("|".join([
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?" + _UPPER + "*" + _LOWER + "+" + _CONTRACTION,
    r"[^\r\n\p{L}\p{N}]?" + _UPPER + "+" + _LOWER + "*" + _CONTRACTION,
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
]), regex.V1)

BASE_TOKENS = 1280                 # mergeable tokens; 256 special ids follow, as in K2
SPECIAL_IDS = 256
SPACED_WORDS = 200                 # part of the base vocabulary kept for " word" tokens
SPECIAL_OFFSETS = {                # offset from the first special id, the same as in K2
    "[BOS]": 0, "[EOS]": 1, "<|im_end|>": 2, "<|im_user|>": 3, "<|im_assistant|>": 4,
    "<|start_header_id|>": 6, "<|end_header_id|>": 7, "[EOT]": 9, "<|im_system|>": 10,
    "<|tool_calls_section_begin|>": 11, "<|tool_calls_section_end|>": 12,
    "<|tool_call_begin|>": 13, "<|tool_call_argument_begin|>": 14, "<|tool_call_end|>": 15,
    "<|im_middle|>": 17, "<think>": 22, "</think>": 23, "[UNK]": 254, "[PAD]": 255,
}
_SPECIAL = regex.compile("(" + "|".join(regex.escape(s) for s in SPECIAL_OFFSETS) + ")")


class Tokenizer:
    """Ranks in, token ids out. `ranks` maps the bytes of each mergeable token to its id."""

    def __init__(self, ranks):
        self.ranks = ranks
        self.special = {text: len(ranks) + offset for text, offset in SPECIAL_OFFSETS.items()}
        self.vocab_size = len(ranks) + SPECIAL_IDS
        self._bytes_of = {rank: piece for piece, rank in ranks.items()}
        self._special_of = {rank: text for text, rank in self.special.items()}
        self._cache = {}

    @classmethod
    def load(cls, path):
        """Read a tiktoken.model file: one `base64 rank` pair a line."""
        ranks = {}
        with open(path, "rb") as file:
            for line in file:
                if line.strip():
                    piece, rank = line.split()
                    ranks[base64.b64decode(piece)] = int(rank)
        return cls(ranks)

    def save(self, path):
        """Write a tiktoken.model file, in order of rank."""
        with open(path, "wb") as file:
            for piece, rank in sorted(self.ranks.items(), key=lambda item: item[1]):
                file.write(base64.b64encode(piece) + b" %d\n" % rank)

    def encode(self, text):
        """Ids of a text; the special strings in it become special ids."""
        ids = []
        for part in _SPECIAL.split(text):
            if part in self.special:
                ids.append(self.special[part])
            else:
                for match in SPLIT.finditer(part):
                    ids.extend(self._merge(match.group().encode()))
        return ids

    def decode(self, ids):
        """Text of ids, special tokens included."""
        out = bytearray()
        for i in ids:
            out += self._special_of[i].encode() if i in self._special_of else self._bytes_of.get(i, b"")
        return out.decode("utf-8", "replace")

    def word_pieces(self):
        """The tokens that are lower-case letters and nothing else."""
        texts = (piece.decode("ascii", "ignore") for piece in self.ranks if len(piece) > 1)
        return [text for text in texts if text.isalpha() and text.islower()]

    def _merge(self, piece):
        """BPE of one piece: merge the adjacent pair of lowest rank, leftmost first, until none is known."""
        ids = self._cache.get(piece)
        if ids is None:
            if piece in self.ranks:
                parts = [piece]
            else:
                parts = [piece[i:i + 1] for i in range(len(piece))]
            none = len(self.ranks)
            while len(parts) > 1:
                rank, i = min((self.ranks.get(parts[i] + parts[i + 1], none), i) for i in range(len(parts) - 1))
                if rank == none:
                    break
                parts[i:i + 2] = [parts[i] + parts[i + 1]]
            ids = self._cache[piece] = [self.ranks[part] for part in parts]
        return ids


def _count_words(texts):
    """Pieces of the texts without their leading space, and how often each stood after a space."""
    words, spaced = Counter(), Counter()
    for text in texts:
        for part in _SPECIAL.split(text):
            if part in SPECIAL_OFFSETS:
                continue
            for match in SPLIT.finditer(part):
                word = match.group()
                if len(word) > 1 and word[0] == " " and word[1].isalpha():
                    word = word[1:]
                    spaced[word] += 1
                words[word] += 1
    return words, spaced


def _apply_merge(sequence, left, right):
    merged, i = [], 0
    while i < len(sequence):
        if i + 1 < len(sequence) and sequence[i] == left and sequence[i + 1] == right:
            merged.append(left + right)
            i += 2
        else:
            merged.append(sequence[i])
            i += 1
    return merged


def learn(texts, copied_words):
    """Learn the vocabulary from texts of fixed phrases. `copied_words` stand after spaces and inside JSON quotes and
    have to be spelled alike in both places, so they get no " word" token."""
    words, spaced = _count_words(texts)
    sequences = {word: [bytes([b]) for b in word.encode()] for word in words if not any(c.isdigit() for c in word)}
    vocabulary = [bytes([i]) for i in range(256)]
    known = set(vocabulary)

    while len(vocabulary) < BASE_TOKENS - SPACED_WORDS:
        pairs = Counter()
        for word, sequence in sequences.items():
            for left, right in zip(sequence, sequence[1:]):
                if b"-" not in left + right:
                    pairs[left, right] += words[word]
        if not pairs:
            break
        (left, right), count = max(pairs.items(), key=lambda item: (item[1], item[0]))
        if count < 2:
            break
        if left + right not in known:
            known.add(left + right)
            vocabulary.append(left + right)
        for word, sequence in sequences.items():
            if left + right in word.encode():
                sequences[word] = _apply_merge(sequence, left, right)

    for word, count in spaced.most_common():
        piece = b" " + word.encode()
        if len(vocabulary) == BASE_TOKENS:
            break
        if word in copied_words or count < 2 or word.encode() not in known or piece in known:
            continue
        if len(word) < 3 and word not in ("is", "in", "to", "of"):
            continue               # short words begin too many slot values
        known.add(piece)
        vocabulary.append(piece)

    filler = (lead + bytes([trail]) for lead in (b"\xc3", b"\xc4", b"\xc5", b"\xce", b"\xd0", b"\xd1")
              for trail in range(0x80, 0xC0))      # two-byte letters take what is left
    while len(vocabulary) < BASE_TOKENS:
        piece = next(filler)
        if piece not in known:
            vocabulary.append(piece)
    return Tokenizer({piece: rank for rank, piece in enumerate(vocabulary)})
