# The hosts have neither git nor a way to a repository: the commit is sent as a tar.
require "capistrano/scm/plugin"

class Archive < Capistrano::SCM::Plugin
  def register_hooks
    after "deploy:new_release_path", "archive:create_release"
    before "deploy:set_current_revision", "archive:set_current_revision"
  end

  def define_tasks
    namespace :archive do
      task :create_release do
        archive = "/tmp/shop-#{release_timestamp}.tar.gz"
        run_locally { execute :git, "-C", fetch(:project), :archive, "--format=tar.gz", "-o", archive, "HEAD" }
        on release_roles(:all) do
          execute :mkdir, "-p", release_path.join("app")
          upload! archive, archive
          execute :tar, "-xzf", archive, "-C", release_path.join("app")
          execute :rm, archive
        end
      end

      task :set_current_revision do
        run_locally { set :current_revision, capture(:git, "-C", fetch(:project), "rev-parse", "HEAD") }
      end
    end
  end
end
