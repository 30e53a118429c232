"""How the clients of a round are trained: engines behind one method, and the choice among them.

`sequential`, `processes` and `ray` give the same bits (with the same number of threads inside an operation);
`vectorized` agrees to rounding. Every engine uses the same objective, the same named draws and the same exact sums.
"""
