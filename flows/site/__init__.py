"""`fedsyn up`: a whole site on one machine. `serving` says what there is, the others how it is done."""
