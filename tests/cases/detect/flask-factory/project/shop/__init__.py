import flask
def create_app(config=None):
    app = flask.Flask(__name__)
    @app.route("/ping")
    def ping():
        return "pong"
    return app
