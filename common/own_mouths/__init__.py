"""Own mouths: a dub drawn with the lips that the same clip shows at other moments.

For every frame a moment of the clip is taken whose lips are
nearest to the wanted shape and whose head pose is most alike (:mod:`~common.own_mouths.plan`), its lips are
laid into the frame at the frame's own resolution and bent to exactly the wanted shape
(:mod:`~common.own_mouths.place`). The wanted shapes come from speech (:mod:`~common.own_mouths.wanted`).
"""
