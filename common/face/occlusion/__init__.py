"""What covers the lower face: what a clip usually shows there, and where a frame shows something else.

What is usual is a set of small pictures of the free face: those in which lips and skin are seen best, and
step by step all that look like them, or show another look of the whole face. A pixel is unusual where its
surroundings, colours and edges, are like those of none of them. A hand has the colour of skin, but it hides
the lips: where they are not seen, a small difference is enough; where they are seen, a large one is needed,
and the largest on the lips themselves, unless the thing lies on most sides of them.

A false alarm on the lips leaves the old lips in a dubbed picture, the worst fault of all; a miss costs some
pixels of a thing. So every rule here prefers a miss: a thing has to differ from all that the clip usually
shows in its place, to be large, to cross the border of the face, and (:mod:`.calm`) to stay for some frames.
A thing that is there all the time is usual.

:mod:`.picture` cuts the small pictures, :mod:`.features` compares them, :mod:`.learning` finds those that are
free, which are what is :mod:`.usual`, :mod:`.things` finds things in one of them, :mod:`.detector` does so
for a clip, :mod:`.calm` cleans its findings in time, :mod:`.masks` brings them into the pixels of a frame.
"""
