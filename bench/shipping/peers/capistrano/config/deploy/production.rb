server ENV.fetch("HOST"), roles: %w[app], user: "deploy"
