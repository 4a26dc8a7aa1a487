"""Studies that produced figures in the documents; and two Flower apps beside them, `app` and `template`, which import none of this."""
