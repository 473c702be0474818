"""Recognition of the person that is followed, by identity vectors, which are compared with those of other people seen beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dva_core.faces.others import Others
from dva_core.faces.select import FaceChoice, embed_faces, unit
from dva_core.faces.types import Face


class Recognition:
    """The identity of the person followed. `identity` [D]: the vector by which a face is recognised, None until it is known.

    embed_fn: None if faces cannot be told apart. others: vectors [n, D] of people known to be someone else.
    """

    def __init__(
        self, choice: FaceChoice, landmarker: Callable, embed_fn: Callable | None, same_person: float, others: Sequence[np.ndarray] = ()
    ) -> None:
        self.landmarker, self.embed_fn, self.same_person = landmarker, embed_fn, same_person
        self.identity: np.ndarray | None = None
        self.from_reference = choice[0] == "reference"
        if self.from_reference:
            self.identity, self.embed_fn = unit(np.asarray(choice[1], np.float64)), choice[2]
        self.best_similarity = -1.0  # of all faces among which one was chosen
        self.unverified = 0  # frames since the identity was last checked
        self._others = Others(same_person, others)

    @property
    def is_known(self) -> bool:
        """Whether a face can be recognised."""
        return self.identity is not None and self.embed_fn is not None

    def reset(self) -> None:
        """Forget the person: the face followed so far was not the chosen one."""
        self._others = Others(self.same_person, self._others.permanent)
        if not self.from_reference:
            self.identity = None

    # -- one face -------------------------------------------------------------------------------------------

    def embedding(self, rgb: np.ndarray, face: Face, landmarks: np.ndarray) -> np.ndarray | None:
        """Identity vector [D] of a face with known landmarks; None without an encoder."""
        return None if self.embed_fn is None else embed_faces(rgb, [face], lambda *_: landmarks, self.embed_fn)[0]

    def learn(self, rgb: np.ndarray, face: Face, landmarks: np.ndarray) -> None:
        """Set the identity from this face, unless it is known or there is no encoder."""
        if self.identity is None:
            self.identity = self.embedding(rgb, face, landmarks)

    def matches(self, vector: np.ndarray) -> bool:
        """Tell whether an identity vector [D] is similar enough to be this person's."""
        return bool(vector @ self.identity >= self.same_person)

    def recognises(self, rgb: np.ndarray, face: Face, landmarks: np.ndarray) -> bool:
        """Tell whether the face is this person's and nobody else's; true if faces cannot be told apart."""
        if self.embed_fn is None:
            return True
        vector = self.embedding(rgb, face, landmarks)
        return self.matches(vector) and not self._is_others(vector[None])[0]

    def mistakes(self, rgb: np.ndarray, face: Face, landmarks: np.ndarray) -> bool:
        """Tell whether the face resembles somebody else more; if not, the frame counts as verified."""
        mistaken = bool(self._is_others(self.embedding(rgb, face, landmarks)[None])[0])
        self.unverified = self.unverified if mistaken else -1  # this frame comes on top
        return mistaken

    # -- several faces --------------------------------------------------------------------------------------

    def most_similar(self, rgb: np.ndarray, faces: Sequence[Face]) -> Face:
        """Choose the face most like this person's."""
        return faces[int(np.argmax(self._embed(rgb, faces) @ self.identity))]

    def find(self, rgb: np.ndarray, faces: Sequence[Face]) -> Face | None:
        """Recognise this person among faces; None if none is similar enough, or only one that is known to be somebody else's."""
        vectors = self._embed(rgb, faces)
        cosines = vectors @ self.identity
        self.best_similarity = max(self.best_similarity, float(cosines.max()))
        cosines[self._is_others(vectors)] = -1
        best = int(np.argmax(cosines))
        return faces[best] if cosines[best] >= self.same_person else None

    @property
    def knows_others(self) -> bool:
        """Whether there are people with whom this person could be confused."""
        return bool(self._others.vectors)

    def note_others(self, rgb: np.ndarray, faces: Sequence[Face], frame: int) -> None:
        """Record the people seen beside this one in frame number `frame`."""
        strangers = self._others.unknown(faces, frame) if self.embed_fn is not None else []
        if strangers:
            self._others.keep(strangers, self._embed(rgb, strangers), frame)

    def _is_others(self, vectors: np.ndarray) -> np.ndarray:
        """Which identity vectors [n, D] match somebody else better, bool [n]."""
        return self._others.claim(vectors, self.identity)

    def _embed(self, rgb: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
        return embed_faces(rgb, faces, self.landmarker, self.embed_fn)
