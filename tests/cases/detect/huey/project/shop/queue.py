from huey import SqliteHuey
huey = SqliteHuey("x.db")
