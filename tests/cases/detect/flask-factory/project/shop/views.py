from flask import Blueprint
bp = Blueprint("v", __name__, url_prefix="/api")
@bp.route("/health")
def health(): ...
