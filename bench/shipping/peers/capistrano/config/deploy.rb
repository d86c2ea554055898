set :application, "shop"
set :project, ENV.fetch("PROJECT")
set :deploy_to, "/srv/shop"
set :keep_releases, 5
set :format, :dot
set :ssh_options, { config: ENV.fetch("SSH_CONFIG") }

namespace :python do
  task :install do
    on roles(:app) do
      within release_path do
        execute :uv, :venv, "-q", "--python", "/usr/bin/python3.11", "venv"
        execute :uv, :pip, :sync, "-q", "--compile-bytecode", "--python", "venv", "app/requirements.txt"
        with django_settings_module: "shop.settings.production", secret_key: "build" do
          execute "venv/bin/python", "app/manage.py", "collectstatic", "--noinput"
        end
      end
    end
  end
end

namespace :service do
  task :restart do
    on(roles(:app)) { execute :sudo, :systemctl, :restart, "shop" }
  end
end

after "deploy:updated", "python:install"
after "deploy:published", "service:restart"
