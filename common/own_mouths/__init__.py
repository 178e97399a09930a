"""Own mouths: a dub drawn with the lips that the same clip shows at other moments.

What a clip already shows, no model need draw. For every frame a moment of the clip is taken whose lips are
nearest to what is to be said and whose head is held most alike (:mod:`~common.own_mouths.plan`), its lips are
laid into the frame at the frame's own resolution and bent to exactly the wanted shape
(:mod:`~common.own_mouths.place`). The wanted shapes come from speech (:mod:`~common.own_mouths.wanted`).
"""
